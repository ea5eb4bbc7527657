"""The library behind the stages in scripts/. Rooms import downwards only, in this order:

report, training, sampling, models, questions, tasks, config, method, runtime.
"""
