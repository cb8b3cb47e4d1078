"""The locks of redis-py and python-redis-lock, for benches/redis.rs: the same server, the same run.

    pip install redis python-redis-lock

Reads "lock port pairs" a line, and answers with the nanoseconds that a pair of acquire and release
took: the median of so many.
"""

import statistics
import sys
import time

import redis
import redis_lock


def redis_py(client):
    """A lock of redis-py is taken and released by the same object again and again."""
    lock = client.lock("redis-py", timeout=30)

    def pair():
        lock.acquire()
        lock.release()

    return pair


def python_redis_lock(client):
    lock = redis_lock.Lock(client, "python-redis-lock", expire=30)

    def pair():
        lock.acquire()
        lock.release()

    return pair


def bare(client):
    release = client.register_script(
        "if redis.call('get', KEYS[1]) == ARGV[1] then"
        " return redis.call('del', KEYS[1]) end return 0"
    )

    def pair():
        client.set("bare redis-py", "token", nx=True, px=30_000)
        release(keys=["bare redis-py"], args=["token"])

    return pair


LOCKS = {"redis-py": redis_py, "python-redis-lock": python_redis_lock, "bare": bare}


def main():
    pairs = {}
    for line in sys.stdin:
        name, port, count = line.split()
        if (name, port) not in pairs:
            pairs[name, port] = LOCKS[name](redis.Redis(port=int(port)))
            pairs[name, port]()
        times = []
        for _ in range(int(count)):
            began = time.perf_counter_ns()
            pairs[name, port]()
            times.append(time.perf_counter_ns() - began)
        print(statistics.median(times), flush=True)


main()
