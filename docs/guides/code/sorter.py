"""A clerk that sorts letters with a model on this machine."""

from typing import Any, Literal

from pydantic import BaseModel

from answerable import Answerable, Limits, LocalProvider

app = Answerable(data=".answerable/data", policy="policy")
local = LocalProvider()
app.provider(local)  # for agents here
app.upstream(local)  # for agents elsewhere, in both dialects
app.route("tiny", "local:smollm2-135m-instruct")
app.wired("desk", limits=Limits(steps=50, tokens=50_000))


class Letter(BaseModel):
    """What the model makes of a letter. It cannot say anything else."""

    about: Literal["payment", "delivery", "something else"]
    in_a_hurry: bool


@app.tool(effect="write", resource="drawer:{drawer}")
def put_away(letter: str, drawer: str) -> str:
    return f"in the drawer for {drawer}"


@app.agent(model="local:smollm2-135m-instruct", limits=Limits(steps=10, tokens=5_000))
async def sorter(run: Any, letter: str) -> str:
    asked = [{"role": "user", "content": f"What is this letter about?\n\n{letter}"}]
    found = await run.model(asked, schema=Letter, max_tokens=60)
    put = await run.tool("put_away", letter=letter, drawer=found.about)
    return str(put)
