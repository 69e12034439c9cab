from fastopt._core import judge_team, serial_threshold, set_holds, set_serial_threshold, team_size  # noqa: F401
