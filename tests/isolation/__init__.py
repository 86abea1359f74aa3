"""Is what transactions saw possible in some serial order that respects real time?

``histories`` writes down what transactions asked and were told; ``orders`` finds out in which order each object had its versions, ``predicates``
what a query without a document in its answer says about that document, ``graph`` the cycles, ``checker`` puts them together. ``workloads`` are
transactions that leave little room for doubt, ``driver`` interleaves them in one thread, and ``python -m tests.isolation`` runs them in processes that are
killed. ``faults`` breaks the engine on purpose: a checker that has never found anything proves nothing. None of it knows how the engine keeps
its promise, but for ``faults``.

After Adya, "Weak Consistency: A Generalized Theory and Optimistic Implementations for Distributed Transactions" (1999), and Kingsbury and Alvaro, "Elle:
Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020).
"""
