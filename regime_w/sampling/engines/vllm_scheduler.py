"""vLLM's scheduler with less CPU work a step; that work bounds an engine with a thousand requests.

A request's tokens are handed over once, when it ends, instead of one by one. (One with stop texts is still followed token
by token: the front end looks for them.) And free places are given away a few dozen at a time: a step that only decodes runs
as one CUDA graph, one that reads even a single prompt is launched kernel by kernel (docs/studies/speed.md).
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState

TOGETHER = 1 / 32  # of max_num_seqs are given away at once; half of that is empty on average


class OfflineScheduler(AsyncScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended: dict[str, list[int]] = {}

    def schedule(self, *args: Any) -> Any:
        running, waiting = self.get_request_counts()
        places = self.scheduler_config.max_num_seqs
        if running and places - running < min(int(places * TOGETHER), waiting):
            self.set_pause_state(PauseState.PAUSED_NEW)
        try:
            return super().schedule(*args)
        finally:  # between steps a paused scheduler would say that nothing waits
            self.set_pause_state(PauseState.UNPAUSED)

    def _update_request_with_output(self, request: Any, new_token_ids: list[int], *args: Any, **kwargs: Any) -> Any:
        updated = super()._update_request_with_output(request, new_token_ids, *args, **kwargs)
        if request.is_finished() and not request.sampling_params.stop:
            self._ended[request.request_id] = list(request.output_token_ids)
        return updated

    def update_from_output(self, *args: Any) -> Any:
        by_client = super().update_from_output(*args)
        for answer in by_client.values():
            kept = []
            for output in answer.outputs:
                if output.finished:
                    output.new_token_ids = self._ended.pop(output.request_id, output.new_token_ids)
                elif not self.requests[output.request_id].sampling_params.stop:
                    continue
                kept.append(output)
            answer.outputs = kept
        return {client: answer for client, answer in by_client.items() if answer.outputs}
