"""What all experiments share: configuration, training, tracking, execution, figures.

It knows no architecture: experiments find it, and it finds experiments by looking.
"""
