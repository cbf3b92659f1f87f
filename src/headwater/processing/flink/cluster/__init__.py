"""A cluster of Flink, over its REST interface: its jobs, how they are doing, and what can be done with them."""
