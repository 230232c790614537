"""A clinic that knows whom its data concern."""

from answerable import Answerable, Run

app = Answerable(data=".answerable/data", policy="policy")


@app.tool(effect="read", subjects=("patient:{patient}",))
async def look_up(patient: str) -> str:
    """The file of a patient."""
    return "blood group 0, allergic to penicillin"


@app.agent
async def nurse(run: Run, patient: str) -> str:
    """Look a patient up."""
    return f"seen: {await run.tool(look_up, patient=patient)}"
