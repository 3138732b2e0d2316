"""What TensorBoard sees in a telemetry folder, as JSON."""
import json
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator, event_file_loader

folder = sys.argv[1]
accumulator = event_accumulator.EventAccumulator(
    folder, size_guidance={event_accumulator.TENSORS: 0, event_accumulator.SCALARS: 0})
accumulator.Reload()
tags = accumulator.Tags()
seen = {"scalars": {}, "version": accumulator.file_version, "records": 0}
for tag in tags["scalars"]:
    seen["scalars"][tag] = [[p.step, p.value] for p in accumulator.Scalars(tag)]
for tag in tags["tensors"]:
    points = accumulator.Tensors(tag)
    if tag == "config":
        seen["config"] = points[0].tensor_proto.string_val[0].decode()
for file in sorted(pathlib.Path(folder).glob("*tfevents*")):
    seen["records"] += sum(1 for _ in event_file_loader.LegacyEventFileLoader(str(file)).Load())
json.dump(seen, sys.stdout)
