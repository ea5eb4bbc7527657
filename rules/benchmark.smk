"""Benchmark: ways of generating side by side, and the pipeline's own jobs, on a model of random weights.

INPUTS   the config section `benchmark` (configs/benchmark.yaml); nothing is downloaded
OUTPUTS  data/{run}/benchmark/{mode}.json; results/{run}/benchmark_report.html, .md, .json
NEEDS    one GPU or more; without, everything at toy size

Rules of this file take the place of those that need a real model or data (base_model, train_sft, fetch_questions,
build_preferences). All other jobs are the pipeline's own.
"""

BENCHMARK = CONFIG["benchmark"]
TENSOR_PARALLEL = 1 << (min(GPUS, NODE_GPUS).bit_length() - 1) if GPUS else 0
PARTS = {
    mode: [f"{mode}-{index}-of-{GPUS}" for index in range(GPUS)]
    for mode in ("shards", "full_shards")
}
LEAST_GPUS = {
    "one_at_a_time": 0,
    "pipeline": 0,
    "shards": 2,
    "full_shards": 2,
    "tensor_parallel": 2,
}
BENCHMARK_MODES = [
    part
    for mode in BENCHMARK["modes"]
    if GPUS >= LEAST_GPUS.get(mode, 1)
    for part in PARTS.get(mode, [mode])
]
BENCHMARK_ROUND = f"{RUN}/round1"
BENCHMARK_USAGE = {
    "merge": f"benchmarks/{RUN}/merge_lora/sft_merged.usage.json",
    **{
        f"generate-{shard}": f"benchmarks/{BENCHMARK_ROUND}/generate/{shard}.usage.json"
        for shard in SHARDS
    },
    "score_rollouts": f"benchmarks/{BENCHMARK_ROUND}/score_rollouts.usage.json",
    "check_rollouts": f"benchmarks/{BENCHMARK_ROUND}/check_rollouts.usage.json",
    "pairs": f"benchmarks/{BENCHMARK_ROUND}/benchmark_pairs.usage.json",
    "train_dpo": f"benchmarks/{BENCHMARK_ROUND}/train_dpo.usage.json",
    "merge_dpo": f"benchmarks/{RUN}/merge_lora/round1/merged.usage.json",
    **{
        f"evaluate-{model}": f"benchmarks/{RUN}/evaluate/{model}.usage.json"
        for model in BENCHMARK["models"]
    },
}


ruleorder: benchmark_model > base_model
ruleorder: benchmark_adapter > train_sft
ruleorder: benchmark_questions > fetch_questions
ruleorder: benchmark_pairs > build_preferences


rule benchmark_model:
    input:
        code=code("benchmark.benchmark_model"),
    output:
        manifest="checkpoints/{run}/{random}/manifest.json",
        usage="benchmarks/{run}/benchmark_model/{random}.usage.json",
    log:
        "logs/{run}/benchmark_model/{random}.log",
    benchmark:
        "benchmarks/{run}/benchmark_model/{random}.tsv"
    wildcard_constraints:
        random="base|small",
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ONE_GPU,
    params:
        config=lambda wildcards: json.dumps(
            {
                "shape": BENCHMARK["shape" if wildcards.random == "base" else "small_shape"],
                "text": "\n".join([CONFIG["prompt"]["template"], *CONFIG["styles"].values()]),
                "seed": CONFIG["seed"],
            }
        ),
    shell:
        "python -m regime_w.runtime.job --stage benchmark_model --gpus {resources.gpu:q}"
        " --lock {output.manifest:q} --usage {output.usage:q} --"
        " python -m scripts.benchmark.benchmark_model --params {params.config:q}"
        " --output {output.manifest:q} --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"


rule benchmark_adapter:
    input:
        code=code("benchmark.benchmark_model"),
        base="checkpoints/{run}/base/manifest.json",
    output:
        manifest="checkpoints/{run}/sft_lora/manifest.json",
        usage="benchmarks/{run}/benchmark_adapter.usage.json",
    log:
        "logs/{run}/benchmark_adapter.log",
    benchmark:
        "benchmarks/{run}/benchmark_adapter.tsv"
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ONE_GPU,
    params:
        config=part(lora=CONFIG["sft"]["lora"], seed=CONFIG["seed"]),
    shell:
        "python -m regime_w.runtime.job --stage benchmark_adapter --gpus {resources.gpu:q}"
        " --lock {output.manifest:q} --usage {output.usage:q} --"
        " python -m scripts.benchmark.benchmark_model --params {params.config:q} --base {input.base:q}"
        " --output {output.manifest:q} --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"


rule benchmark_questions:
    input:
        code=code("benchmark.benchmark_data"),
        model="checkpoints/{run}/base/manifest.json",
    output:
        train="data/{run}/train.jsonl",
        eval="data/{run}/eval.jsonl",
    log:
        "logs/{run}/benchmark_questions.log",
    benchmark:
        "benchmarks/{run}/benchmark_questions.tsv"
    conda:
        ENV
    params:
        config=part(
            train=max(
                CONFIG["generate"]["n_samples"],
                BENCHMARK["full_questions"],
                BENCHMARK["small_questions"],
            ),
            eval=CONFIG["evaluate"]["n_questions"],
            question_tokens=BENCHMARK["question_tokens"],
            seed=CONFIG["seed"],
        ),
    shell:
        "python -m scripts.benchmark.benchmark_data --params {params.config:q} --model {input.model:q}"
        " --train {output.train:q} --eval {output.eval:q} 2>&1 | tee -i {log:q}"


rule benchmark_pairs:
    input:
        code=code("benchmark.benchmark_data"),
        model="checkpoints/{run}/base/manifest.json",
        rollouts="data/{run}/round{round}/rollouts.jsonl",
        check="results/{run}/round{round}/rollouts_check.json",
    output:
        preferences="data/{run}/round{round}/preferences.jsonl",
        summary="data/{run}/round{round}/preferences.json",
        usage="benchmarks/{run}/round{round}/benchmark_pairs.usage.json",
    log:
        "logs/{run}/round{round}/benchmark_pairs.log",
    benchmark:
        "benchmarks/{run}/round{round}/benchmark_pairs.tsv"
    conda:
        ENV
    params:
        config=part(
            pairs=CONFIG["pairs"],
            **prompt_of(CONFIG),
            seed=CONFIG["seed"],
            n=BENCHMARK["pairs"],
            lengths={"mean": BENCHMARK["pair_tokens"], "sigma": 0.5},
            most=CONFIG["generate"]["max_new_tokens"],
        ),
    shell:
        "python -m regime_w.runtime.job --stage benchmark_pairs --lock {output.preferences:q} --usage {output.usage:q} --"
        " python -m scripts.benchmark.benchmark_data --params {params.config:q} --model {input.model:q}"
        " --rollouts {input.rollouts:q} --preferences {output.preferences:q}"
        " --summary {output.summary:q} 2>&1 | tee -i {log:q}"


rule benchmark_generate:
    input:
        code=code("benchmark.benchmark_generate"),
        model=lambda wildcards: (
            "checkpoints/{run}/small/manifest.json"
            if wildcards.mode.startswith("small")
            else "checkpoints/{run}/base/manifest.json"
        ),
        questions="data/{run}/train.jsonl",
    output:
        record="data/{run}/benchmark/{mode}.json",
        usage="benchmarks/{run}/benchmark_generate/{mode}.usage.json",
    log:
        "logs/{run}/benchmark_generate/{mode}.log",
    benchmark:
        "benchmarks/{run}/benchmark_generate/{mode}.tsv"
    wildcard_constraints:
        mode=r"[a-z_]+(-\d+-of-\d+)?",
    # Before the pipeline's own jobs: what they find compiled is then the same in every run.
    priority: 5
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=lambda wildcards: TENSOR_PARALLEL if wildcards.mode == "tensor_parallel" else ONE_GPU,
    params:
        config=part(
            generate={key: value for key, value in CONFIG["generate"].items() if key != "shards"},
            engine=CONFIG["engine"],
            arms=CONFIG["arms"],
            **prompt_of(CONFIG),
            seed=CONFIG["seed"],
            sizes={
                key: BENCHMARK[key]
                for key in (
                    "sample_trajectories",
                    "sample_questions",
                    "full_questions",
                    "small_questions",
                )
            },
        ),
        work="data/{run}/benchmark/{mode}.work",
    shell:
        "python -m regime_w.runtime.job --stage benchmark_generate --gpus {resources.gpu:q}"
        " --lock {output.record:q} --usage {output.usage:q} --"
        " python -m scripts.benchmark.benchmark_generate --params {params.config:q} --mode {wildcards.mode:q}"
        " --model {input.model:q} --questions {input.questions:q} --work {params.work:q}"
        " --output {output.record:q} --gpus {resources.gpu:q} 2>&1 | tee -i {log:q}"


rule benchmark_report:
    input:
        code=code("benchmark.benchmark_report"),
        templates=rules.eval_report.input.templates,
        base=f"checkpoints/{RUN}/base/manifest.json",
        adapter=f"checkpoints/{BENCHMARK_ROUND}/dpo_lora/manifest.json",
        pairs=f"data/{BENCHMARK_ROUND}/preferences.json",
        modes=[f"data/{RUN}/benchmark/{mode}.json" for mode in BENCHMARK_MODES],
        modes_usage=[
            f"benchmarks/{RUN}/benchmark_generate/{mode}.usage.json" for mode in BENCHMARK_MODES
        ],
        usage=list(BENCHMARK_USAGE.values()),
        evaluations=[f"data/{RUN}/eval/{model}.jsonl" for model in BENCHMARK["models"]],
    output:
        html=report(
            f"results/{RUN}/benchmark_report.html",
            caption="captions/benchmark_report.rst",
            category="Benchmark",
            labels={"run": RUN, "form": "page"},
        ),
        md=f"results/{RUN}/benchmark_report.md",
        json=f"results/{RUN}/benchmark_report.json",
    log:
        f"logs/{RUN}/benchmark_report.log",
    benchmark:
        f"benchmarks/{RUN}/benchmark_report.tsv"
    localrule: True
    conda:
        ENV
    params:
        config=part(
            run=RUN,
            questions=CONFIG["generate"]["n_samples"],
            arms=len(CONFIG["arms"]),
            trajectories=CONFIG["generate"]["n_samples"] * len(CONFIG["arms"]),
            random_lengths=CONFIG["engine"]["random_lengths"],
            max_new_tokens=CONFIG["generate"]["max_new_tokens"],
            gpu_hour_usd=CONFIG["report"]["gpu_hour_usd"],
            peak_tflops=BENCHMARK["peak_tflops"],
        ),
        usage=lambda wildcards, input: named(BENCHMARK_USAGE, input.usage),
        modes_usage=lambda wildcards, input: named(BENCHMARK_MODES, input.modes_usage),
        evaluations=lambda wildcards, input: named(BENCHMARK["models"], input.evaluations),
    shell:
        "python -m scripts.benchmark.benchmark_report --params {params.config:q} --base {input.base:q}"
        " --adapter {input.adapter:q} --pairs {input.pairs:q} --modes {input.modes:q}"
        " --modes-usage {params.modes_usage:q} --usage {params.usage:q}"
        " --evaluations {params.evaluations:q} --html {output.html:q} --md {output.md:q}"
        " --json {output.json:q} 2>&1 | tee -i {log:q}"
