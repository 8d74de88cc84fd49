"""The language that the control plane and the workers share: pydantic and the standard library only."""
