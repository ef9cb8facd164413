"""Many runs at once on one device: a pack trains trials together, as one would train alone."""

from lrsearch.tasks.packs.pack import Pack
from lrsearch.tasks.packs.size import MAX_PACK_SIZE, best_pack_size, packing_obstacle
