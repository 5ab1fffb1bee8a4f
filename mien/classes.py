"""Class names and their order: the one place where either is written down."""

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# Answers that FERPlus' annotators could give and that are no expression.
FERPLUS_OTHER_ANSWERS = ("unknown", "not-a-face")

# RAF-DB numbers its basic emotions from 1 in this order.
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")

# AffectNet numbers its expressions from 0 in this order, the answers that are none after them. Seven classes: without the last.
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
AFFECTNET_OTHER_ANSWERS = ("none", "uncertain", "not-a-face")
