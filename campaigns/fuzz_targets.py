"""What `fuzz.py` feeds, and to whom: each kind of input with the functions that the commands call."""

from __future__ import annotations

from hypothesis import strategies as st

import fuzz_configs as configs
import fuzz_files as files
import fuzz_servers as servers
from fuzz import Target
from fuzz_pieces import damage, text_damage

TARGETS: dict[str, Target] = {
    "data files": Target(
        st.tuples(
            files.FILES, st.booleans(), st.sampled_from(["auto", "auto", "comparison", "messages", "preference"])
        ),
        files.read_data,
        20,
        lambda value, chance: (files.damaged_file(value[0], chance), *value[1:]),
    ),
    "evaluation files": Target(
        st.tuples(st.integers(0, 4), files.FILES),
        files.read_evaluation_input,
        10,
        lambda value, chance: (value[0], files.damaged_file(value[1], chance)),
    ),
    "configurations, YAML": Target(configs.yaml_files(), configs.read_yaml_config, 6, damage),
    "configurations, mappings": Target(configs.mappings(), configs.read_mapping, 8),
    "overrides": Target(configs.OVERRIDES, configs.read_overrides, 8),
    "judges' settings": Target(
        st.tuples(
            st.sampled_from(["llm", "verifier", "pairwise", "reward-model", "expert", "x", "\ud800"]), configs.OVERRIDES
        ),
        configs.read_judge_settings,
        5,
    ),
    "chat templates": Target(configs.TEMPLATES, configs.read_template, 8, damage),
    "judges' answers": Target(
        servers.REPLIES, servers.read_reply, 300, lambda value, chance: (text_damage(value[0], chance), *value[1:])
    ),
    "judges' answers, HTTP": Target(servers.http_answers(servers.COMPLETION), servers.read_chat, 3, damage),
    "completions, HTTP": Target(servers.http_answers(servers.TOKENS), servers.read_completion, 4, damage),
    "run directories": Target(files.runs(), files.read_run, 2),
    "games": Target(configs.GAMES, configs.read_game, 2),
}
