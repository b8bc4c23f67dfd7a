"""What `codeblue snapshot` does without Ansible: looking up, restoring files, pruning the store."""
