import asyncio, pytest
from decimal import Decimal
from tests.access.test_budgets import *
from app.access import budgets as B
@pytest.mark.parametrize("k", range(6))
async def test_x(database_url, make_budget, sql, k):
    make_budget(Decimal(1_000_000))
    async with open_budgets(database_url) as budgets:
        orig = budgets._take_lease
        log = []
        def tl(ask, asked):
            log.append((asked.cancelled() or asked.exception() or asked.result()))
            orig(ask, asked)
        budgets._take_lease = tl
        ow = budgets._escrow.find_wish
        def fw(s, r):
            w = ow(s, r)
            if budgets._escrow._paces[s].rate: log.append((w, r))
            return w
        budgets._escrow.find_wish = fw
        for n in range(40):
            await asyncio.gather(*(hold(budgets) for _ in range(6)))
            await asyncio.sleep(0.04)
        p = list(budgets._escrow._paces.values())[0]
        assert budgets._escrow._leases, (p, log)
