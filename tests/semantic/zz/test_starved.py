from tests.semantic.test_reembedding import *
pytestmark = pytest.mark.anyio
async def test_starved(database, database_url, build):
    await fill(database, [f"refused {n}" for n in range(16)])
    await fill(database, ["good"], first=100)
    one = build("mock/embed", Remote(refuse=lambda t: "refused" in t))
    for _ in range(3): await one.look()
    assert dict(list_embedders(database_url)).get("mock/embed") == 1
