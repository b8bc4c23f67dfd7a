"""The sources of the clinic's services, as the lab commits them to its repository and releases them."""
