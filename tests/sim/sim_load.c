// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_client.h"

#include <stdlib.h>
#include <string.h>

#define SEND_MAGIC 0x53494d53u

struct send_body {
    uint32_t magic, vi;
    uint32_t session, checks;
    uint32_t serial, unused; // of the opening that it was sent by
    uint64_t sequence;
    struct {
        uint32_t region, index;
        uint64_t word;
    } check[PAIR_CHECKS_MAX];
    uint32_t mail;     // which word is handed over with this send, from 1; 0: none
    uint32_t returned; // the reader's words that are given back, a bit for each
    uint64_t mail_word;
};

static const char *who(const struct carrick_client *client)
{
    return client->world->node[client->node].name;
}

// ---- local memory: a slot for each operation

static uint64_t *slot_at(struct carrick_client *client, const struct load_vi *vi, uint32_t slot)
{
    return client->local + ((uint64_t)vi->number * PAIR_OPS_MAX + slot) * client->slot_words;
}

static void slot_poison(struct carrick_client *client, const struct load_vi *vi, uint32_t slot,
                        uint64_t poison)
{
    uint64_t *words = slot_at(client, vi, slot);

    for (uint32_t i = 0; i < client->slot_words; i++)
        words[i] = poison;
}

// Nobody has touched a buffer since it was given back.
static void slot_check(struct carrick_client *client, const struct load_vi *vi, uint32_t slot)
{
    const uint64_t *words = slot_at(client, vi, slot);

    for (uint32_t i = 0; i < client->slot_words; i++)
        if (words[i] != words[0] || (words[i] != POISON_READ && words[i] != POISON_WRITE)) {
            world_fail(client->world,
                       "%s/%s vi %u: a buffer was touched after its operation completed",
                       who(client), client_pair(client)->name, vi->number);
            return;
        }
}

int load_memory(struct carrick_client *client)
{
    const struct pair_side *side = client_side(client);
    const struct carrick_client_host *host = client->host;
    int status;

    client->slot_words = 1;
    for (uint32_t i = 0; i < side->regions; i++)
        if (side->cell_bytes[i] / 8 > client->slot_words)
            client->slot_words = side->cell_bytes[i] / 8;
    status = host->region_create(
        host, (uint64_t)PAIR_VIS_MAX * PAIR_OPS_MAX * client->slot_words * 8, &client->region);
    if (status != CARRICK_OK)
        return status;
    client->local = host->region_ptr(client->region);
    for (uint32_t i = 0; i < PAIR_VIS_MAX; i++) {
        client->vis[i].number = i;
        for (uint32_t slot = 0; slot < PAIR_OPS_MAX; slot++)
            slot_poison(client, &client->vis[i], slot, POISON_READ);
    }
    return CARRICK_OK;
}

void load_memory_free(struct carrick_client *client)
{
    int status;

    if (client->region == NULL)
        return;
    if (!client->forgotten)
        for (uint32_t i = 0; i < PAIR_VIS_MAX; i++)
            for (uint32_t slot = 0; slot < PAIR_OPS_MAX; slot++)
                slot_check(client, &client->vis[i], slot);
    status = client->host->region_destroy(client->region);
    if (status != CARRICK_OK && !client->forgotten)
        world_fail(client->world, "%s: region_destroy answers %#x with nothing under way",
                   who(client), (unsigned)status);
    client->region = NULL;
}

// ---- posting

static struct load_op *op_next(struct carrick_client *client, struct load_vi *vi,
                               uint32_t operation)
{
    uint32_t slot = (uint32_t)(vi->tail % PAIR_OPS_MAX);
    struct load_op *op = &vi->ring[slot];

    *op = (struct load_op){.cookie = ++client->cookie, .operation = operation, .slot = slot};
    vi->tail++;
    return op;
}

// A range within the cells of this VI.
static void range_draw(struct carrick_client *client, const struct load_vi *vi, struct load_op *op)
{
    const struct pair_side *side = client_side(client);
    uint32_t span = side->cell_words[op->region] / PAIR_VIS_MAX;
    uint32_t cell = side->cell_bytes[op->region] / 8;
    uint32_t most = cell < span ? cell : span;

    op->count = sim_random_percent(&client->random, 60)
                    ? most
                    : (uint32_t)sim_random_below(&client->random, most + 1);
    op->first = vi->number * span +
                (sim_random_percent(&client->random, 50)
                     ? (uint32_t)sim_random_below(&client->random, span / cell) * cell
                     : (uint32_t)sim_random_below(&client->random, span - op->count + 1));
    if (op->first + op->count > (vi->number + 1) * span)
        op->first = (vi->number + 1) * span - op->count;
}

static void write_draw(struct carrick_client *client, struct load_vi *vi, struct load_op *op)
{
    struct pair_side *side = client_side(client);
    uint64_t *words = slot_at(client, vi, op->slot);

    op->region = (uint32_t)sim_random_below(&client->random, side->regions);
    range_draw(client, vi, op);
    slot_check(client, vi, op->slot);
    for (uint32_t i = 0; i < op->count; i++) {
        client->world->stamp++;
        words[i] = word_make(client->world, client->pair, client->node, op->region, op->first + i);
        side->posted[op->region][op->first + i] = words[i];
    }
    if (op->count > 0) {
        uint32_t at = vi->recent_count++ % PAIR_CHECKS_MAX;

        vi->recent[at].region = op->region;
        vi->recent[at].index = op->first + op->count - 1;
        vi->recent[at].word = words[op->count - 1];
    }
}

// A word that the next send hands over: from then on it is the target's, and nothing of ours may touch it, until the
// target gives it back.
static bool mail_draw(struct carrick_client *client, struct load_vi *vi, struct load_op *op)
{
    struct pair_side *side = client_side(client);
    uint64_t *words = slot_at(client, vi, op->slot);

    vi->mail = 1;
    while (vi->mail <= PAIR_MAILS && (vi->mails_out & 1u << (vi->mail - 1)) != 0)
        vi->mail++;
    if (vi->mail > PAIR_MAILS) {
        vi->mail = 0;
        return false;
    }
    vi->mails_out |= 1u << (vi->mail - 1);
    slot_check(client, vi, op->slot);
    op->region = 0;
    op->first = side->cell_words[0] + vi->number * PAIR_MAILS + vi->mail - 1;
    op->count = 1;
    client->world->stamp++;
    words[0] = word_make(client->world, client->pair, client->node, 0, op->first);
    side->posted[0][op->first] = vi->mail_word = words[0];
    return true;
}

static void read_draw(struct carrick_client *client, struct load_vi *vi, struct load_op *op)
{
    struct pair_side *side = client_side(client);

    // Region 0 can always be read.
    op->region = (uint32_t)sim_random_below(&client->random, side->regions);
    if (!(side->access[op->region] & CARRICK_ACCESS_REMOTE_READ))
        op->region = 0;
    range_draw(client, vi, op);
    slot_check(client, vi, op->slot);
    slot_poison(client, vi, op->slot, POISON_READ);
    op->expected = malloc((op->count + 1u) * sizeof(uint64_t));
    if (op->expected == NULL)
        abort();
    if (op->count > 0)
        memcpy(op->expected, side->posted[op->region] + op->first, op->count * sizeof(uint64_t));
}

static uint32_t send_draw(struct carrick_client *client, struct load_vi *vi, struct load_op *op,
                          uint8_t *data)
{
    struct pair_side *side = client_side(client);
    struct send_body body = {
        .magic = SEND_MAGIC,
        .vi = vi->number,
        .session = side->session,
        .serial = vi->serial,
        .sequence = ++vi_counts(client, vi)->posted,
        .checks = vi->recent_count < PAIR_CHECKS_MAX ? vi->recent_count : PAIR_CHECKS_MAX,
        .mail = vi->mail,
        .mail_word = vi->mail_word,
        .returned = vi->mails_returned,
    };
    uint32_t length = sizeof(body);

    for (uint32_t i = 0; i < body.checks; i++) {
        body.check[i].region = vi->recent[i].region;
        body.check[i].index = vi->recent[i].index;
        body.check[i].word = vi->recent[i].word;
    }
    if (sim_random_percent(&client->random, 20))
        length =
            (uint32_t)sim_random_between(&client->random, sizeof(body), CARRICK_SEND_BYTES_MAX);
    memcpy(data, &body, sizeof(body));
    memset(data + sizeof(body), (int)(body.sequence & 0xff), length - sizeof(body));
    op->sequence = body.sequence;
    vi->mail = vi->mails_returned = 0;
    return length;
}

static void op_fill(struct carrick_client *client, const struct load_vi *vi,
                    const struct load_op *from, struct carrick_op *op)
{
    *op = (struct carrick_op){
        .struct_size = sizeof(*op),
        .operation = from->operation,
        .cookie = from->cookie,
    };
    if (from->operation != CARRICK_CLIENT_WRITE && from->operation != CARRICK_CLIENT_READ)
        return;
    op->region = client->region;
    op->offset = (uint64_t)((char *)slot_at(client, vi, from->slot) - (char *)client->local);
    op->length = (uint64_t)from->count * 8;
    op->there = from->region;
    op->there_offset = (uint64_t)from->first * 8;
}

static void one_draw(struct carrick_client *client, struct load_vi *vi, struct carrick_op *op,
                     uint8_t *data)
{
    uint64_t draw = sim_random_below(&client->random, 100);
    struct load_op *drawn;

    if (vi->mail != 0)
        draw = 80; // the send that hands the word over follows at once
    if (draw < 55) {
        drawn = op_next(client, vi, CARRICK_CLIENT_WRITE);
        if (draw >= 12 || !mail_draw(client, vi, drawn))
            write_draw(client, vi, drawn);
    } else if (draw < 72) {
        drawn = op_next(client, vi, CARRICK_CLIENT_READ);
        read_draw(client, vi, drawn);
    } else if (draw < 90) {
        drawn = op_next(client, vi, CARRICK_CLIENT_SEND);
    } else {
        drawn = op_next(client, vi, CARRICK_CLIENT_FLUSH);
    }
    op_fill(client, vi, drawn, op);
    if (drawn->operation == CARRICK_CLIENT_SEND) {
        op->data = data;
        op->length = send_draw(client, vi, drawn, data);
    }
}

#define BATCH_MAX 4u

// It may have been written, or not: what stands there is no longer known exactly, as after a session.
static void words_forget(struct carrick_client *client, const struct load_op *op)
{
    uint64_t *posted = client_side(client)->posted[op->region] + op->first;

    for (uint32_t i = 0; i < op->count; i++)
        posted[i] &= ~(4095ull << STAMP_BITS);
}

// None of the batch was taken.
static void posted_undo(struct carrick_client *client, struct load_vi *vi, uint32_t count)
{
    struct pair_side *side = client_side(client);

    vi->closing = true;
    side->outstanding -= count;
    for (; count > 0; count--) {
        struct load_op *op = &vi->ring[--vi->tail % PAIR_OPS_MAX];

        if (op->operation == CARRICK_CLIENT_SEND)
            vi_counts(client, vi)->posted--;
        if (op->operation == CARRICK_CLIENT_WRITE) {
            words_forget(client, op);
            slot_poison(client, vi, op->slot, POISON_WRITE);
        }
        free(op->expected);
        op->expected = NULL;
    }
}

void load_post(struct carrick_client *client, struct load_vi *vi)
{
    static _Thread_local uint8_t data[BATCH_MAX][CARRICK_SEND_BYTES_MAX];
    struct carrick_op ops[BATCH_MAX];
    uint32_t count = (uint32_t)sim_random_between(&client->random, 1, BATCH_MAX);
    int status;

    if (vi->tail - vi->head + count > client->depth || client->host->vi_room(vi->vi) < count)
        return;
    for (uint32_t i = 0; i < count; i++)
        one_draw(client, vi, &ops[i], data[i]);
    client_side(client)->outstanding += count;
    status = client->host->post(vi->vi, ops, count);
    memset(data, 0xaa, sizeof(data[0])); // a send's data is copied
    if (status == CARRICK_ERR_STATE) {
        // The partner has closed the VI, and we are about to be told.
        posted_undo(client, vi, count);
        return;
    }
    if (status != CARRICK_OK)
        world_fail(client->world, "%s/%s vi %u: post answers %#x, though there is room",
                   who(client), client_pair(client)->name, vi->number, (unsigned)status);
}

// ---- completions

// What a read brought: all that this VI had posted to that place before, and nothing that it posted later. Before
// the first write of this session it may be anything between the last that is proven and the last that was posted.
static void read_check(struct carrick_client *client, struct load_vi *vi, const struct load_op *op)
{
    const struct pair_side *side = client_side(client);
    const uint64_t *words = slot_at(client, vi, op->slot);

    for (uint32_t i = 0; i < op->count; i++) {
        uint64_t expected = op->expected[i];
        bool exact = expected != 0 && word_session(expected) == side->session;
        uint64_t proven = side->proven[op->region][op->first + i];

        if (words[i] == expected)
            continue;
        if (!exact && word_stamp(words[i]) <= word_stamp(expected) &&
            (word_stamp(words[i]) >= word_stamp(proven) || word_session(proven) == side->session))
            continue;
        world_fail(
            client->world,
            "%s/%s vi %u region %u word %u: read brings stamp %llu (session %u), posted before "
            "it was %llu (session %u)",
            who(client), client_pair(client)->name, vi->number, op->region, op->first + i,
            (unsigned long long)word_stamp(words[i]), word_session(words[i]),
            (unsigned long long)word_stamp(expected), word_session(expected));
        return;
    }
}

static void op_succeeded(struct carrick_client *client, struct load_vi *vi,
                         const struct load_op *op)
{
    struct pair_side *side = client_side(client);

    side->done++;
    client->world->numbers.operations++;
    if (op->operation == CARRICK_CLIENT_WRITE)
        judge_written(client->world, client->pair, client->node, op->region, op->first, op->count,
                      slot_at(client, vi, op->slot));
    else if (op->operation == CARRICK_CLIENT_READ)
        read_check(client, vi, op);
    else if (op->operation == CARRICK_CLIENT_SEND)
        vi_counts(client, vi)->completed = op->sequence;
}

void load_completed(struct carrick_client *client, struct load_vi *vi,
                    const struct carrick_completion *completion)
{
    struct load_op *op = &vi->ring[vi->head % PAIR_OPS_MAX];
    struct world *world = client->world;

    if (vi->head == vi->tail || op->cookie != completion->cookie) {
        world_fail(world, "%s/%s vi %u: completion of %llu, expected %llu: out of order, or twice",
                   who(client), client_pair(client)->name, vi->number,
                   (unsigned long long)completion->cookie,
                   (unsigned long long)(vi->head == vi->tail ? 0 : op->cookie));
        return;
    }
    vi->head++;
    client_side(client)->outstanding--;
    if (completion->status == CARRICK_OK && vi->broken)
        world_fail(world, "%s/%s vi %u: an operation succeeds after one that did not", who(client),
                   client_pair(client)->name, vi->number);
    if (completion->status == CARRICK_OK)
        op_succeeded(client, vi, op);
    else
        vi->broken = true;
    if (completion->status != CARRICK_OK && op->operation == CARRICK_CLIENT_WRITE)
        words_forget(client, op);
    // Whoever still looks at the buffer will find what was never written, and whoever writes to it leaves a trace.
    if (op->operation == CARRICK_CLIENT_WRITE || op->operation == CARRICK_CLIENT_READ)
        slot_poison(client, vi, op->slot,
                    op->operation == CARRICK_CLIENT_WRITE ? POISON_WRITE : POISON_READ);
    free(op->expected);
    op->expected = NULL;
}

void load_drop(struct load_vi *vi)
{
    for (; vi->head < vi->tail; vi->head++) {
        struct load_op *op = &vi->ring[vi->head % PAIR_OPS_MAX];

        free(op->expected);
        op->expected = NULL;
    }
    vi->head = vi->tail = 0;
    vi->recent_count = 0;
    vi->mail = vi->mails_out = vi->mails_returned = 0;
    vi->broken = false;
    vi->open = vi->closing = false;
    vi->vi = NULL;
}

// ---- arrivals

static bool send_is_whole(const struct send_body *body, const uint8_t *data, uint32_t length)
{
    for (uint32_t i = sizeof(*body); i < length; i++)
        if (data[i] != (body->sequence & 0xff))
            return false;
    return body->magic == SEND_MAGIC && body->checks <= PAIR_CHECKS_MAX;
}

// The word is ours now: we change it, and no late or repeated write of the partner may change it back.
static void mail_take(struct carrick_client *client, struct load_vi *vi,
                      const struct send_body *body)
{
    struct pair_side *side = client_side(client);
    uint32_t index = client_other(client)->cell_words[0] + vi->number * PAIR_MAILS + body->mail - 1;
    uint64_t *word = &side->here[0][index];

    if (*word != body->mail_word) {
        world_fail(client->world,
                   "%s/%s vi %u: send %llu hands a word over that holds stamp %llu, not %llu",
                   who(client), client_pair(client)->name, vi->number,
                   (unsigned long long)body->sequence, (unsigned long long)word_stamp(*word),
                   (unsigned long long)word_stamp(body->mail_word));
        return;
    }
    client->world->stamp++;
    *word = (body->mail_word & ~((1ull << STAMP_BITS) - 1)) | client->world->stamp;
    vi->mails_returned |= 1u << (body->mail - 1);
}

// All sends of one opening come from one opening of the partner, and nothing of an earlier one comes into a later.
static void serial_check(struct carrick_client *client, struct load_vi *vi,
                         const struct send_body *body)
{
    if (vi->partner_serial == 0 && body->serial > vi->partner_last)
        vi->partner_serial = body->serial;
    if (body->serial != vi->partner_serial)
        world_fail(client->world,
                   "%s/%s vi %u: a send of the partner's opening %u comes into one that belongs to "
                   "%u (the one before belonged to %u)",
                   who(client), client_pair(client)->name, vi->number, body->serial,
                   vi->partner_serial, vi->partner_last);
}

void load_received(struct carrick_client *client, struct load_vi *vi, const void *data,
                   uint32_t length)
{
    struct pair_side *side = client_side(client);
    const char *name = client_pair(client)->name;
    struct pair_opening *counts = vi_counts(client, vi);
    struct world *world = client->world;
    struct send_body body = {0};

    if (length >= sizeof(body))
        memcpy(&body, data, sizeof(body));
    if (!send_is_whole(&body, data, length) || body.vi != vi->number) {
        world_fail(world, "%s/%s vi %u: a send arrives that nobody posted", who(client), name,
                   vi->number);
        return;
    }
    if (body.session != side->session)
        world_fail(world, "%s/%s vi %u: a send of session %u arrives in session %u", who(client),
                   name, vi->number, body.session, side->session);
    serial_check(client, vi, &body);
    if (body.sequence != counts->received + 1)
        world_fail(world, "%s/%s vi %u: send %llu arrives after %llu: lost, doubled or reordered",
                   who(client), name, vi->number, (unsigned long long)body.sequence,
                   (unsigned long long)counts->received);
    counts->received = body.sequence;
    for (uint32_t i = 0; i < body.checks; i++) {
        uint64_t here = side->here[body.check[i].region & 1][body.check[i].index & 4095];

        if (word_stamp(here) < word_stamp(body.check[i].word))
            world_fail(
                world,
                "%s/%s vi %u: send %llu arrives before the write of stamp %llu that was posted "
                "before it",
                who(client), name, vi->number, (unsigned long long)body.sequence,
                (unsigned long long)word_stamp(body.check[i].word));
    }
    vi->mails_out &= ~body.returned;
    if (body.mail > 0 && body.mail <= PAIR_MAILS)
        mail_take(client, vi, &body);
}
