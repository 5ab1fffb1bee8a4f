"""Class names and their order: the one place where either is written down."""

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# Answers that FERPlus' annotators could give and that are no expression.
FERPLUS_OTHER_ANSWERS = ("unknown", "not-a-face")
