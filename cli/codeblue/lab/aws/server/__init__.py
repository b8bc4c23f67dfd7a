"""The server of the lab on AWS: moto's account, and beside it what moto leaves out.

It is a process of its own, `python -m codeblue.lab.aws.server`. Only `codeblue lab` starts it, and nothing of it is
imported elsewhere: it needs the extra `aws-lab`.
"""
