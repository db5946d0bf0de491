from concurrent.futures import ThreadPoolExecutor
from tests.routing.test_upstream_faults import *
def test_probe(gateway):
    out=open("/tmp/probe.txt","w")
    import time
    for name in [*BEHAVIOURS, *sorted(OUTSIDE)]:
        t=time.time()
        with ThreadPoolExecutor(4) as pool:
            fs={(d,s): pool.submit(look, gateway, name, d, streamed=s) for d in PATHS for s in (False,True)}
        for k,f in fs.items():
            try: r=f.result()
            except BaseException as e: r=repr(e)[:300]
            out.write(f"{name:26} {k[0][:1]}{'s' if k[1] else 'w'} {tuple(r) if not isinstance(r,str) else r}\n")
        out.write(f"    {time.time()-t:.2f}\n")
        out.flush()
