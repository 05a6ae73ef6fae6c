"""What several processes agree on before they train; tests/distributed starts them."""

import json
from dataclasses import asdict

import yaml

from pairft.config import Config
from pairft.runs.ranks import from_json
from pairft.runs.settings import read_settings


def test_settings_come_back_from_json():
    config = Config(text_columns=("a", "b, c"), seeds=(1, 2), eval_every=7, max_tokens=90, fallback=True)
    assert from_json(json.loads(json.dumps(asdict(config)))) == config


def test_a_resume_keeps_the_number_of_processes_that_decides_about_a_step(made, tmp_path, monkeypatch):
    """Of a run that is older than `processes`, it is one."""
    run = made("--max-steps", 1)
    (run / "results.json").unlink()
    resume = ["--resume", "--run-name", "a", "--runs-dir", str(tmp_path / "runs")]
    settings = yaml.safe_load((run / "config.yaml").read_text())
    found = []
    for processes in (1, 3, None):
        settings.pop("processes")
        settings |= {} if processes is None else {"processes": processes}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        monkeypatch.setenv("WORLD_SIZE", "2")
        config, _ = read_settings(resume)
        found.append(config.processes)
    assert found == [1, 3, 1]
    new, _ = read_settings(["--model", settings["model"], "--data", settings["data"], "--runs-dir", str(tmp_path)])
    assert new.processes == 2
