import subprocess, sys, time, httpx, pytest
from tests.batch import test_native as tn
from tests.batch.test_native import submit, ask_many, wait, check_once_each, list_natives, CONFIG
import psycopg
from tests.conftest import prepare
from tests.gateway_process import run_gateway
@pytest.mark.parametrize("when",[0.05,0.1,0.2,0.6,1.4,3.0])
def test_restart(database_url, tmp_path, when):
    with subprocess.Popen([sys.executable,"-m","app.mock","--port","0"],stdout=subprocess.PIPE,text=True) as mock:
        base=mock.stdout.readline().strip()
        httpx.post(f"{base}/mock/batches", json={"delay_ms":1500})
        ready=prepare(database_url,tmp_path)
        with run_gateway(ready) as g:
            g.configure(providers={"openai":{"type":"openai","api_key":"k","base_url":f"{base}/v1"}}, batch=CONFIG, cache={"enabled":False})
            bid=submit(g, ask_many(300)); key=g.key
            time.sleep(when)
        c=psycopg.connect(database_url)
        print(when, c.execute("select state, lease_until, look_at-now(), attempt from native_batches").fetchall())
        c.close()
        with run_gateway(prepare(database_url,tmp_path)) as g:
            g.key=key
            t=time.monotonic()
            view=wait(g,bid,40); check_once_each(g,bid,view,300)
            print(time.monotonic()-t, list_natives(g,"state,requests,attempt"), httpx.get(f"{base}/mock/stats").json()["paths"])
            assert all(one["native"] for one in view["result"])
        mock.kill()
