"""The layout of TensorBoard's page "Custom Scalars": charts in the order in which one asks.

That page alone draws several curves of a run in one chart. "Time Series" has one chart for each tag.
"""

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import summary

# Category: {chart: regular expressions of tags, which select the curves in it}
CHARTS = {
    "1 Is it learning?": {
        "Loss: training and validation": [r"learning/loss/.*"],
        "Metrics (validation)": [r"learning/metrics/.*"],
        "Learning rate": [r"learning/optimizer/lr"],
        "Gradient norm, before clipping": [r"learning/optimizer/grad_norm"],
        "Update-to-weight ratio by layer": [r"update_ratio/.*"],
    },
    "2 Where is it wrong?": {"Mean confidence of right and of wrong answers": [r"mistakes/mean_confidence/.*"]},
    "3 What does it cost?": {
        "Examples a second": [r"throughput/examples_per_second"],
        "Tokens a second": [r"throughput/tokens_per_second"],
        "Share of the hardware's FLOPs": [r"resources/flops_share"],
        "Peak memory, GiB": [r"resources/memory/.*"],
        "Seconds of a log interval: data, steps": [r"resources/seconds/(data|steps)"],
        "Seconds of an evaluation, of a save": [r"resources/seconds/(evaluation|save)"],
    },
}


def layout() -> Summary:
    """The layout, for an event file."""
    chart_of = {title: {name: ["Multiline", tags] for name, tags in charts.items()} for title, charts in CHARTS.items()}
    return summary.custom_scalars(chart_of)
