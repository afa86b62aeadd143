"""Writes each rendering of a folder as a list in JSON, and of those the objects that Kubernetes itself does not know."""

import json
import pathlib
import sys

import yaml

OWN_GROUPS = ("cert-manager.io/", "monitoring.coreos.com/", "postgresql.cnpg.io/")

folder = pathlib.Path(sys.argv[1])
(folder / "custom").mkdir()
for path in folder.glob("*.yaml"):
    objects = [each for each in yaml.safe_load_all(path.read_text()) if each]
    custom = [each for each in objects if each["apiVersion"].startswith(OWN_GROUPS)]
    path.with_suffix(".json").write_text(json.dumps(objects))
    (folder / "custom" / f"{path.stem}.json").write_text(json.dumps(custom))
