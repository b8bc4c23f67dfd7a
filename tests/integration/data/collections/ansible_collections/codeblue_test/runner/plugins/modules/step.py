# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action of the same name does it."""

DOCUMENTATION = """
module: step
short_description: Report one step, with a real record when asked for
description: [Runs as an action.]
author: The codeblue engineers
options: {}
"""
