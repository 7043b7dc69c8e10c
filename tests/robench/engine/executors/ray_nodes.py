"""A program: a Ray cluster of two nodes of one core each on the loopback interface, which ends with its input.

Says the cluster's address. A line ``kill`` kills the second node as a power cut would.

A program, and not a fixture, because Ray reads its environment once, when a process first imports it.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args=node)
second = cluster.add_node(**node)
say(cluster.address)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
        say("killed")
cluster.shutdown()
