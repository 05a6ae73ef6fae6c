"""docs/scale.md's arithmetic against transformers and a ring played by hand; its scripts by their own tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import scale_arithmetic as arithmetic
import scaling


@pytest.mark.parametrize(("name", "shape"), [("bert", arithmetic.BERT_BASE), ("xlm-roberta-xl", arithmetic.XXL)])
def test_parameters_are_those_of_transformers(name, shape):
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(
        name, vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.intermediate, num_labels=shape.labels,
        max_position_embeddings=shape.positions, type_vocab_size=shape.token_types,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    in_a_layer = [parameter for name, parameter in model.named_parameters() if ".layer.0." in name]
    assert sum(parameter.numel() for parameter in in_a_layer) == shape.layer_parameters
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters


def test_the_bytes_are_those_of_a_ring():
    """Four processes with a bucket of 12 numbers each: sums go round in parts of three, then the finished parts."""
    processes, bucket = 4, 12
    held = [[[rank + 1.0] * (bucket // processes) for _ in range(processes)] for rank in range(processes)]
    sent = [0] * processes
    for turn in range(2 * (processes - 1)):
        adds = turn < processes - 1
        parts = [(rank, (rank - turn + (not adds) * processes) % processes) for rank in range(processes)]
        moving = [(rank, part, list(held[rank][part])) for rank, part in parts]
        for rank, part, numbers in moving:
            sent[rank] += 4 * len(numbers)
            mine = held[(rank + 1) % processes]
            mine[part] = [a + b for a, b in zip(mine[part], numbers, strict=True)] if adds else numbers
    assert held == [[[10.0] * 3] * 4] * 4
    assert sent == [arithmetic.all_reduce_bytes(bucket, processes)] * processes


def saved_bytes(layers: int) -> int:
    """What a small encoder of XXL's kind in bfloat16 keeps for the backward pass of 4 examples of 64 tokens."""
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(
        "xlm-roberta-xl", vocab_size=100, hidden_size=256, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=1024, attn_implementation="eager",
    )  # fmt: skip
    model = AutoModel.from_config(config, add_pooling_layer=False).bfloat16().train()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}  # also keeps the tensors, so that no address is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.full((4, 64), 7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert output.last_hidden_state.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_activations_are_what_torch_keeps():
    small = arithmetic.Shape(1, 256, 4, 1024, vocabulary=100, positions=514, token_types=1)
    of_a_layer = saved_bytes(3) - saved_bytes(2)
    assert of_a_layer == pytest.approx(arithmetic.activation_bytes(small, 4, 64), rel=0.05)


def test_the_gains_follow_from_the_times():
    assert arithmetic.times_one(8, 0.010, 0.0) == 8
    assert arithmetic.times_one(8, 0.010, 0.030) == 2
    # 27 steps of 10 ms and one reduction of 30 ms: 90 % computing; 26 would be 89.7 %.
    assert arithmetic.accumulate_for(0.9, 0.010, 0.030) == 27
    assert arithmetic.trained(arithmetic.BERT_BASE, 30_522) == arithmetic.BERT_BASE.parameters


def test_how_even_a_deal_is():
    assert scaling.fullest([[30, 10], [20, 20]]) == 1.25


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is missing; make install"
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["docs/slurm.sh", ".ci/run"])
def test_shell_scripts_pass_their_linter(script):
    assert tool("bash", "-n", ROOT / script).returncode == 0
    found = tool("shellcheck", ROOT / script)
    assert found.returncode == 0, found.stdout


def test_the_manifest_fits_the_schemas_of_kubernetes_and_its_parts_each_other():
    import kubernetes_validate

    claim, service, job = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text(encoding="utf-8"))
    for resource in (claim, service, job):
        # 1.31: the first version with podFailurePolicy for good; then the newest one of the package.
        for version in ("1.31", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(resource, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**job, "spec": {**job["spec"], "completion": 2}}, "1.31", strict=True)

    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    # A pod's name in the network is its Job's with the index, below the headless Service that selects it.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    assert container["ports"] == [{"containerPort": port}]
    [script] = container["args"]
    assert f"--rdzv-endpoint {name}-0.{pod['subdomain']}:{port}" in script
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] and f"--nnodes {spec['completions']} " in script
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    grace = {one["name"]: one.get("value") for one in container["env"]}["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]
    assert int(grace) < pod["terminationGracePeriodSeconds"]
