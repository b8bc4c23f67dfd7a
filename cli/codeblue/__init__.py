"""The codeblue command: runs, plans, resumes, drills and reports emergency runbooks."""
