"""What `fuzz.py` feeds, and to whom: each kind of input with the functions that the commands call."""

from __future__ import annotations

import fuzz_configs as configs
import fuzz_files as files
import fuzz_games as games
import fuzz_runs as runs
import fuzz_servers as servers
import fuzz_templates as templates
from fuzz import Target
from fuzz_pieces import text_damage

TARGETS: dict[str, Target] = {
    "data files": Target(
        files.data_inputs(),
        files.read_data,
        20,
        lambda value, chance: (files.damaged_file(value[0], chance), *value[1:]),
    ),
    "evaluation files": Target(
        files.evaluation_inputs(),
        files.read_evaluation_input,
        10,
        lambda value, chance: (value[0], files.damaged_file(value[1], chance)),
    ),
    "configurations, YAML": Target(configs.yaml_files(), configs.read_yaml_config, 8),
    "configurations, mappings": Target(configs.mappings(), configs.read_mapping, 8),
    "overrides": Target(configs.OVERRIDES, configs.read_overrides, 8),
    "judges' settings": Target(configs.judge_settings(), configs.read_judge_settings, 5),
    "chat templates": Target(templates.templates(), templates.read_template, 8),
    "judges' answers": Target(
        servers.REPLIES, servers.read_reply, 20, lambda value, chance: (text_damage(value[0], chance), *value[1:])
    ),
    "judges' answers, HTTP": Target(servers.http_answers(servers.COMPLETION), servers.read_chat, 8),
    "completions, HTTP": Target(servers.http_answers(servers.TOKENS), servers.read_completion, 8),
    "run directories": Target(runs.runs(), runs.read_run, 5),
    "games": Target(games.games(), games.read_game, 8),
}
