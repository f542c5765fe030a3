// SPDX-License-Identifier: Apache-2.0
//
// What must hold, seen from outside: at every landing in memory that a client has, at every completion, and at the
// end, when everything is quiet.
#include "tests/sim/world.h"

#include <string.h>

#define TURN_NS 20000u // from a message's arrival until its node has done what follows from it

// Both halves of a session come and go within the deadlines of bring-up and of its end.
static uint64_t half_limit_ns(const struct world *world)
{
    const struct config_timers *timers = &world->timers;

    return (timers->session_lost_ms + timers->link_dead_ms + 2ull * timers->bringup_ms +
            timers->ending_ms + timers->operation_ms + 500) *
           ENV_MS;
}

uint32_t place_make(unsigned pair, unsigned writer, unsigned region, uint32_t index)
{
    return pair << 14 | writer << 13 | region << 12 | index;
}

uint64_t word_make(const struct world *world, unsigned pair, unsigned writer, unsigned region,
                   uint32_t index)
{
    uint64_t session = world->pair[pair].side[writer].session;

    return (uint64_t)place_make(pair, writer, region, index) << (STAMP_BITS + 12) |
           session << STAMP_BITS | world->stamp;
}

// ---- landings

struct landing {
    struct world *world;
    unsigned pair, target, region;
};

static void word_check(const struct landing *landing, uint32_t index, uint64_t old, uint64_t word)
{
    struct world *world = landing->world;
    const char *node = world->node[landing->target].name;
    const char *name = world->pair[landing->pair].name;
    uint32_t session = word_session(word);

    if (word_place(word) != place_make(landing->pair, !landing->target, landing->region, index) ||
        word_stamp(word) == 0 || word_stamp(word) > world->stamp || session == 0 ||
        session > world->session_count) {
        world_fail(world,
                   "%s/%s region %u word %u: %016llx lands, which nobody wrote there (a buffer was "
                   "given back while it was still being read?)",
                   node, name, landing->region, index, (unsigned long long)word);
        return;
    }
    if (word_stamp(old) > word_stamp(word))
        world_fail(
            world,
            "%s/%s region %u word %u: goes back from stamp %llu (session %u) to %llu (session "
            "%u): a ghost write",
            node, name, landing->region, index, (unsigned long long)word_stamp(old),
            word_session(old), (unsigned long long)word_stamp(word), session);
    else if (world->sessions[session].ended[landing->target])
        world_fail(world, "%s/%s region %u word %u: a write of session %u lands after its end here",
                   node, name, landing->region, index, session);
}

void judge_landing(void *arg, const char *node, const void *to, const void *from, uint64_t bytes)
{
    struct landing landing = {.world = arg, .target = (unsigned)(node[0] - 'a')};
    struct world *world = landing.world;

    for (landing.pair = 0; landing.pair < world->pairs; landing.pair++) {
        const struct pair_side *side = &world->pair[landing.pair].side[landing.target];

        for (landing.region = 0; landing.region < PAIR_REGIONS_MAX; landing.region++) {
            const uint64_t *here = side->here[landing.region];
            const uint64_t *old = to, *word = from;
            uint64_t index;

            if (here == NULL || old < here || old >= here + side->here_words[landing.region])
                continue;
            index = (uint64_t)(old - here);
            world->numbers.landings++;
            if (bytes % 8 != 0 || (uintptr_t)to % 8 != 0 ||
                index + bytes / 8 > side->here_words[landing.region])
                world_fail(world, "%s: %llu bytes land across words or the region's end", node,
                           (unsigned long long)bytes);
            else
                for (uint64_t i = 0; i < bytes / 8; i++) {
                    uint64_t copy;

                    memcpy(&copy, word + i, sizeof(copy));
                    word_check(&landing, (uint32_t)(index + i), old[i], copy);
                }
            return;
        }
    }
}

void judge_misuse(void *arg, const char *text)
{
    world_fail(arg, "the core breaks the rules of transport.h: %s", text);
}

void judge_written(struct world *world, unsigned pair, unsigned side, unsigned region,
                   uint32_t first, uint32_t count, const uint64_t *stamps)
{
    struct pair_side *writer = &world->pair[pair].side[side];
    const struct pair_side *target = &world->pair[pair].side[!side];
    const uint64_t *here = target->here[region];

    // A node that is dead holds nothing, and proves nothing about the one that comes after it.
    for (uint32_t i = 0; here != NULL && i < count; i++) {
        uint64_t stamp = word_stamp(stamps[i]);

        if (word_stamp(here[first + i]) < stamp) {
            world_fail(world,
                       "%s/%s region %u word %u: the write of stamp %llu is completed, but the "
                       "partner's memory holds %llu",
                       world->node[side].name, world->pair[pair].name, region, first + i,
                       (unsigned long long)stamp, (unsigned long long)word_stamp(here[first + i]));
            return;
        }
        if (stamp > word_stamp(writer->proven[region][first + i]))
            writer->proven[region][first + i] = stamps[i];
    }
}

// ---- sessions

static uint32_t session_serial(struct world *world, unsigned pair, uint64_t id)
{
    uint32_t serial;

    for (serial = world->session_count; serial > 0; serial--)
        if (world->sessions[serial].id == id && world->sessions[serial].pair == pair)
            return serial;
    if (world->session_count + 1 >= WORLD_SESSIONS_MAX) {
        world_fail(world, "more than %u sessions", WORLD_SESSIONS_MAX);
        return 1;
    }
    serial = ++world->session_count;
    world->sessions[serial] = (struct world_session){.id = id, .pair = pair};
    world->numbers.sessions++;
    return serial;
}

// Whom this session is with died and started anew, and this node cannot know: what tells it that both are ready was sent
// before that, and came this moment, or when this node went on that had stood still.
static bool still_heard(struct world *world, unsigned index,
                        const struct carrick_session_info *info)
{
    const struct world_node *node = &world->node[index], *partner = &world->node[!index];
    uint64_t since_ns = sim_node_heard_gone_ns(world->fabric, node->name);

    since_ns = since_ns > partner->gone_ns ? since_ns : partner->gone_ns;
    since_ns = since_ns > node->thawed_ns ? since_ns : node->thawed_ns;
    return info->partner_incarnation == partner->before &&
           world->clock.now_ns - since_ns <= TURN_NS;
}

void judge_ready(struct world *world, unsigned pair, unsigned index,
                 const struct carrick_session_info *info)
{
    struct pair_side *side = &world->pair[pair].side[index];
    const struct pair_side *other = &world->pair[pair].side[!index];
    const char *node = world->node[index].name, *name = world->pair[pair].name;
    const struct world_node *partner = &world->node[!index];
    struct world_session *session;

    if (side->ready)
        world_fail(world, "%s/%s: ready again without ended", node, name);
    if (world->no_session_expected)
        world_fail(world, "%s/%s: ready, though the nodes must refuse each other", node, name);
    if (info->session == 0 || (other->ready && other->session_id != info->session))
        world_fail(world, "%s/%s: ready for session %016llx while the partner is in %016llx", node,
                   name, (unsigned long long)info->session, (unsigned long long)other->session_id);
    if (info->incarnation != world->node[index].manager->incarnation)
        world_fail(world, "%s/%s: ready with an incarnation that is not this node's", node, name);
    if (partner->alive && info->partner_incarnation != partner->manager->incarnation &&
        !still_heard(world, index, info))
        world_fail(world, "%s/%s: ready with a partner that is no more", node, name);
    side->ready = true;
    side->session_id = info->session;
    side->session = session_serial(world, pair, info->session);
    session = &world->sessions[side->session];
    if (session->ready[index] || session->ended[index])
        world_fail(world, "%s/%s: ready twice for one session", node, name);
    session->ready[index] = true;
    memset(side->opening, 0, sizeof(side->opening));
}

struct pair_opening *pair_opening_at(struct pair_side *side, uint32_t vi, uint32_t number)
{
    struct pair_opening *opening = &side->opening[vi][number % PAIR_OPENINGS];

    if (opening->number != number)
        *opening = (struct pair_opening){.number = number};
    return opening;
}

// A VI that the partner closes: the sends that had completed there have all come before. When the session ends without
// order, what is still in the hands of a device is lost with it.
void judge_vi_closed(struct world *world, unsigned pair, unsigned index, uint32_t vi,
                     uint32_t opening)
{
    struct pair_side *side = &world->pair[pair].side[index];
    struct pair_side *other = &world->pair[pair].side[!index];
    enum carrick_session_state state = world->node[index].manager->session.state;
    uint64_t completed = other->opening[vi][opening % PAIR_OPENINGS].completed;
    const struct pair_opening *here = pair_opening_at(side, vi, opening);

    if (here->closed_here || other->session != side->session ||
        other->opening[vi][opening % PAIR_OPENINGS].number != opening ||
        (state != CARRICK_SESSION_UP && state != CARRICK_SESSION_ENDING))
        return;
    if (completed > here->received)
        world_fail(world,
                   "%s/%s vi %u: closed by the partner, where %llu sends had completed; %llu have "
                   "arrived",
                   world->node[index].name, world->pair[pair].name, vi,
                   (unsigned long long)completed, (unsigned long long)here->received);
}

void judge_ended(struct world *world, unsigned pair, unsigned index)
{
    struct pair_side *side = &world->pair[pair].side[index];

    if (!side->ready)
        world_fail(world, "%s/%s: ended without ready", world->node[index].name,
                   world->pair[pair].name);
    if (side->outstanding > 0)
        world_fail(world, "%s/%s: ended with %llu operations outstanding", world->node[index].name,
                   world->pair[pair].name, (unsigned long long)side->outstanding);
    world->sessions[side->session].ended[index] = true;
    side->ready = false;
}

void judge_node_gone(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->pairs; i++) {
        struct pair_side *side = &world->pair[i].side[node];
        struct pair_side *writer = &world->pair[i].side[!node];

        if (side->ready)
            world->sessions[side->session].ended[node] = true;
        side->ready = false;
        side->outstanding = 0;
        memset(side->here, 0, sizeof(side->here));
        if (side->instance != NULL)
            client_forget(side->instance);
        side->instance = NULL;
        // What was proven to be in that memory is gone with it.
        for (unsigned region = 0; region < writer->regions; region++)
            memset(writer->proven[region], 0, writer->words[region] * sizeof(uint64_t));
    }
}

// ---- rules that time alone can break

void judge_sample(struct world *world)
{
    for (unsigned i = 0; i < world->pairs; i++) {
        const struct pair_side *side = world->pair[i].side;
        bool both_run = world->node[0].alive && world->node[1].alive && !world->node[0].frozen &&
                        !world->node[1].frozen;

        if (!both_run || side[0].ready == side[1].ready)
            world->half_since_ns[i] = world->clock.now_ns;
        else if (world->clock.now_ns - world->half_since_ns[i] > half_limit_ns(world))
            world_fail(
                world, "%s: only %s has the session, for %llu ms", world->pair[i].name,
                side[0].ready ? "a" : "b",
                (unsigned long long)((world->clock.now_ns - world->half_since_ns[i]) / ENV_MS));
    }
}

// ---- the end

static void region_quiet(struct world *world, unsigned pair, unsigned writer, unsigned region)
{
    const struct pair_side *side = &world->pair[pair].side[writer];
    const uint64_t *here = world->pair[pair].side[!writer].here[region];

    for (uint32_t i = 0; here != NULL && i < side->words[region]; i++) {
        uint64_t posted = side->posted[region][i];
        // A word that was handed over is the target's.
        bool mine =
            word_session(posted) == side->session && posted != 0 && i < side->cell_words[region];

        if (i >= side->cell_words[region] &&
            word_stamp(here[i]) >= word_stamp(side->proven[region][i]))
            continue;

        if (mine ? here[i] != posted
                 : word_stamp(here[i]) < word_stamp(side->proven[region][i]) ||
                       word_stamp(here[i]) > word_stamp(posted)) {
            world_fail(world,
                       "%s/%s region %u word %u: holds %016llx at the end, last written %016llx",
                       world->node[!writer].name, world->pair[pair].name, region, i,
                       (unsigned long long)here[i], (unsigned long long)posted);
            return;
        }
    }
}

// VIs that were closed are open again on both sides, as the same opening, and no send of it is missing.
static void vi_quiet(struct world *world, unsigned pair, unsigned writer, uint32_t vi)
{
    struct pair_side *side = &world->pair[pair].side[writer];
    struct pair_side *other = &world->pair[pair].side[!writer];
    uint32_t number = client_opening(side->instance, vi);
    uint64_t posted = pair_opening_at(side, vi, number)->posted;
    uint64_t received = pair_opening_at(other, vi, number)->received;

    if (number == 0 || client_opening(other->instance, vi) != number)
        world_fail(world, "%s/%s vi %u: opening %u here, %u there", world->node[writer].name,
                   world->pair[pair].name, vi, number, client_opening(other->instance, vi));
    if (posted != received)
        world_fail(world, "%s/%s vi %u: %llu sends posted, %llu arrived", world->node[writer].name,
                   world->pair[pair].name, vi, (unsigned long long)posted,
                   (unsigned long long)received);
}

void judge_quiet(struct world *world)
{
    for (unsigned pair = 0; pair < world->pairs; pair++)
        for (unsigned writer = 0; writer < 2; writer++) {
            for (unsigned region = 0; region < world->pair[pair].side[writer].regions; region++)
                region_quiet(world, pair, writer, region);
            for (uint32_t vi = 0; vi < world->pair[pair].vis; vi++)
                vi_quiet(world, pair, writer, vi);
        }
}
