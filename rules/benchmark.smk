"""Benchmark: ways of generating side by side, and the pipeline's own jobs, on a model of random weights.

INPUTS   the config section `benchmark` (configs/benchmark.yaml); nothing is downloaded
OUTPUTS  data/{run}/benchmark/{mode}.json; results/{run}/benchmark_report.html, .md, .json
NEEDS    one GPU or more; without, everything at toy size

Rules of this file take the place of those that need a real model or data (base_model, train_sft, fetch_questions,
build_preferences). All other jobs are the pipeline's own.
"""

BENCHMARK = CONFIG["benchmark"]
# The largest power of two that one machine has.
TENSOR_PARALLEL = (
    1 << (min(GPUS, CONFIG["resources"]["gpus_per_node"]).bit_length() - 1) if GPUS else 0
)
BENCHMARK_JOBS = jobs_of(BENCHMARK["modes"], GPUS)
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
        f"evaluate-{model}": f"benchmarks/{RUN}/evaluate/{SETS[0]}/{model}.usage.json"
        for model in BENCHMARK["models"]
    },
}


ruleorder: benchmark_model > base_model
ruleorder: benchmark_adapter > train_sft
ruleorder: benchmark_questions > fetch_questions
ruleorder: benchmark_questions > fetch_evaluation
ruleorder: benchmark_pairs > build_preferences


rule benchmark_model:
    output:
        model=directory("checkpoints/{run}/{random}"),
        seal="checkpoints/{run}/{random}.sha256",
        usage="benchmarks/{run}/benchmark_model/{random}.usage.json",
    log:
        "logs/{run}/benchmark_model/{random}.log",
    wildcard_constraints:
        random="base|small",
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ONE_GPU,
    params:
        code=code("benchmark.benchmark_model"),
        config=lambda wildcards: argument(
            {
                "shape": BENCHMARK["shape" if wildcards.random == "base" else "small_shape"],
                "text": "\n".join([CONFIG["prompt"]["template"], *CONFIG["styles"].values()]),
                "seed": CONFIG["seed"],
            }
        ),
    shell:
        stage(
            "benchmark.benchmark_model",
            "--params {params.config:q}",
            "--output {output.model:q}",
            "--gpus {resources.gpu:q}",
        )


rule benchmark_adapter:
    input:
        unpack(sealed(base=BASE)),
    output:
        adapter=directory("checkpoints/{run}/sft_lora"),
        seal="checkpoints/{run}/sft_lora.sha256",
        usage="benchmarks/{run}/benchmark_adapter.usage.json",
    log:
        "logs/{run}/benchmark_adapter.log",
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=ONE_GPU,
    params:
        code=code("benchmark.benchmark_adapter"),
        config=part(lora=CONFIG["sft"]["lora"], seed=CONFIG["seed"]),
    shell:
        stage(
            "benchmark.benchmark_adapter",
            "--params {params.config:q}",
            "--base {input.base:q}",
            "--output {output.adapter:q}",
            "--gpus {resources.gpu:q}",
        )


rule benchmark_questions:
    input:
        unpack(sealed(model=BASE)),
    output:
        train="data/{run}/questions/train.jsonl",
        eval=f"data/{{run}}/questions/eval/{SETS[0]}.jsonl",
        seals=[
            "data/{run}/questions/train.jsonl.seal",
            f"data/{{run}}/questions/eval/{SETS[0]}.jsonl.seal",
        ],
        usage="benchmarks/{run}/benchmark_questions.usage.json",
    log:
        "logs/{run}/benchmark_questions.log",
    conda:
        ENV
    params:
        code=code("benchmark.benchmark_questions"),
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
        stage(
            "benchmark.benchmark_questions",
            "--params {params.config:q}",
            "--model {input.model:q}",
            "--train {output.train:q}",
            "--eval {output.eval:q}",
        )


rule benchmark_pairs:
    input:
        unpack(
            sealed(
                model=BASE,
                rollouts=lambda wildcards: f"data/{wildcards.run}/round{wildcards.round}/rollouts.jsonl",
            )
        ),
        check="results/{run}/round{round}/rollouts_check.json",
    output:
        preferences="data/{run}/round{round}/preferences.jsonl",
        seal="data/{run}/round{round}/preferences.jsonl.seal",
        summary="data/{run}/round{round}/preferences.json",
        usage="benchmarks/{run}/round{round}/benchmark_pairs.usage.json",
    log:
        "logs/{run}/round{round}/benchmark_pairs.log",
    conda:
        ENV
    params:
        code=code("benchmark.benchmark_pairs"),
        config=part(
            pairs=CONFIG["pairs"],
            **prompt_of(CONFIG),
            seed=CONFIG["seed"],
            n=BENCHMARK["pairs"],
            lengths={"mean": BENCHMARK["pair_tokens"], "sigma": 0.5},
            most=CONFIG["generate"]["max_new_tokens"],
        ),
    shell:
        stage(
            "benchmark.benchmark_pairs",
            "--params {params.config:q}",
            "--model {input.model:q}",
            "--rollouts {input.rollouts:q}",
            "--output {output.preferences:q}",
            "--summary {output.summary:q}",
        )


rule benchmark_generate:
    input:
        unpack(
            sealed(
                model=lambda wildcards: f"checkpoints/{wildcards.run}/{way_of(wildcards).model}",
                questions=lambda wildcards: f"data/{wildcards.run}/questions/train.jsonl",
            )
        ),
    output:
        record="data/{run}/benchmark/{mode}.json",
        usage="benchmarks/{run}/benchmark_generate/{mode}.usage.json",
    log:
        "logs/{run}/benchmark_generate/{mode}.log",
    wildcard_constraints:
        mode=r"[a-z_]+(-\d+-of-\d+)?",
    # Before the pipeline's own jobs: what they find compiled is then the same in every run.
    priority: 5
    conda:
        ENV
    threads: threads_for(gpu=8, cpu=1)
    resources:
        gpu=lambda wildcards: TENSOR_PARALLEL if way_of(wildcards).all_gpus else ONE_GPU,
    params:
        code=code("benchmark.benchmark_generate"),
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
        work=subpath(output.record, strip_suffix=".json"),
    shell:
        stage(
            "benchmark.benchmark_generate",
            "--params {params.config:q}",
            "--mode {wildcards.mode:q}",
            "--model {input.model:q}",
            "--questions {input.questions:q}",
            "--work {params.work:q}.work",
            "--output {output.record:q}",
            "--gpus {resources.gpu:q}",
            SHARING,
        )


rule benchmark_report:
    input:
        unpack(
            sealed(
                base=BASE,
                adapter=f"checkpoints/{BENCHMARK_ROUND}/dpo_lora",
                evaluations=[
                    f"data/{RUN}/answers/{SETS[0]}/{model}.jsonl" for model in BENCHMARK["models"]
                ],
            )
        ),
        pairs=f"data/{BENCHMARK_ROUND}/preferences.json",
        modes=[f"data/{RUN}/benchmark/{mode}.json" for mode in BENCHMARK_JOBS],
        modes_usage=[
            f"benchmarks/{RUN}/benchmark_generate/{mode}.usage.json" for mode in BENCHMARK_JOBS
        ],
        usage=list(BENCHMARK_USAGE.values()),
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
    localrule: True
    conda:
        ENV
    params:
        code=code("benchmark.benchmark_report", files=TEMPLATES),
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
        inputs=lambda wildcards, input: argument(
            {
                "base": str(input.base),
                "adapter": str(input.adapter),
                "pairs": input.pairs,
                "modes": list(input.modes),
                "modes_usage": by_name(BENCHMARK_JOBS, input.modes_usage),
                "usage": by_name(BENCHMARK_USAGE, input.usage),
                "evaluations": by_name(BENCHMARK["models"], input.evaluations),
            },
            sort=False,
        ),
    shell:
        stage(
            "benchmark.benchmark_report",
            "--params {params.config:q}",
            "--inputs {params.inputs:q}",
            "--html {output.html:q}",
            "--md {output.md:q}",
            "--json {output.json:q}",
            usage=False,
        )
