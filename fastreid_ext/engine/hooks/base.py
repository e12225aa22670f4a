"""What a hook is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastreid_ext.engine.train_loop import TrainerBase

__all__ = ["Hook"]


class Hook:
    """Something that happens beside training steps.

    The trainer calls the methods below in the order in which the hooks were registered, and keeps `state_dict` in
    its checkpoints under the hook's class name. `self.trainer` is set before the first call.
    """

    trainer: TrainerBase

    def before_train(self) -> None:
        """Called once, before the first step."""

    def after_train(self) -> None:
        """Called once, after the last step of a training that was not interrupted."""

    def before_epoch(self) -> None:
        """Called at the start of every epoch, and of the rest of an epoch that is resumed."""

    def after_epoch(self) -> None:
        """Called when an epoch is complete."""

    def before_step(self) -> None:
        """Called before every step."""

    def after_backward(self) -> None:
        """Called when a step's gradients are complete, before they are clipped and used."""

    def after_step(self) -> None:
        """Called after every step."""

    def close(self) -> None:
        """Called at the end whatever happened, to close files."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned."""
