"""What `codeblue evidence` does."""
