"""One reader per data set: each turns an owner's layout into a SampleTable."""
