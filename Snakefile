"""Preference optimisation of reasoning models: questions to evaluation report.

snakemake --cores all eval_report                                  # the embedded demo
snakemake --cores all eval_report --configfile configs/abel.yaml   # another run
snakemake --cores all study_report --configfile configs/smollm2.yaml
snakemake --cores all benchmark_report --configfile configs/benchmark.yaml
"""

from snakemake.utils import min_version

min_version("9.20")


# The config: files named with --configfile, or config.yaml (regime_w/config/files.py).
include: "rules/common.smk"


# Of all rules, for `--sdm apptainer`: made of `make image` by `apptainer build envs/cpu.sif docker-daemon:regime-w:cpu`.
container: IMAGE


# Every rule reruns when its own part of the config changes, see rules/common.smk.
include: "rules/questions.smk"
include: "rules/models.smk"
include: "rules/rollouts.smk"
include: "rules/preferences.smk"
include: "rules/evaluation.smk"
include: "rules/outside.smk"
include: "rules/publish.smk"


if CONFIG["benchmark"]:

    include: "rules/benchmark.smk"


if CONFIG["start"]:

    include: "rules/start.smk"


if CONFIG["study"]:

    include: "rules/study.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        rules.eval_report.output,
