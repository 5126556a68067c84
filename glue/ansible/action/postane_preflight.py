"""Action `postane_preflight`: refuses a bad inventory, on the controller, all its faults at once."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return super().run(tmp, task_vars)
