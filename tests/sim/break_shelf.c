// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/storage_break.h"

#include "plugins/shelf/shelf.h"

void break_shelf(struct carrick_client *shelf, unsigned rules)
{
    shelf->break_resync = (rules & BREAK_RESYNC) != 0;
    shelf->break_index = (rules & BREAK_INDEX) != 0;
    shelf->break_each = (rules & BREAK_EACH) != 0;
}
