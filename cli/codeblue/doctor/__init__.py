"""What has to be in order before an emergency, looked at one by one."""
