"""GGUF: a header of typed key-values and tensor infos, then the tensors' bytes.

::

    "GGUF"  u32 version  u64 tensors  u64 key-values        all numbers little endian
    key-value    * n     string key, u32 type, value
    tensor info  * n     string name, u32 dimensions, u64 each (fastest first), u32 type, u64 offset
    padding to general.alignment (32 unless the key says otherwise)
    data                 tensors at their offsets from here on, each padded to the alignment

A string is ``u64 length`` and as many bytes of UTF-8; an array is ``u32 item type, u64 count`` and
its items. Nothing in the header says how long the header is: the tensor infos are found by walking
over every value before them.

``types`` has the tables, ``cursor`` reads with checks, ``strings`` walks over long arrays of
strings, ``keyvalues`` and ``header`` parse, ``place`` finds where each tensor lies, ``checkpoint``
joins shards; ``raw`` and ``writer`` are the way back.
"""
