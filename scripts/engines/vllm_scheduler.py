"""vLLM's scheduler, handing over a request's tokens once, when it ends, instead of one by one.

With a thousand requests running, serialising and reading a token of each at every step is most of the CPU work around a
small model. A request with stop texts is still followed token by token: the front end looks for them.
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler


class FinalOnlyScheduler(AsyncScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended: dict[str, list[int]] = {}

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
