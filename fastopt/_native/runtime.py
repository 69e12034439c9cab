from fastopt._core import (  # noqa: F401
    PRELUDE,
    RULES,
    SHORT,
    TILE,
    ask_for_huge_pages,
    available_isas,
    build_info,
    get_num_threads,
    isa,
    set_isa,
    set_num_threads,
)
