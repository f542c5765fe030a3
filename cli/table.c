// SPDX-License-Identifier: Apache-2.0
//
// Tables and colours. Colours only on a terminal, never when NO_COLOR is set (no-color.org).

#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool paint_is_on(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no_color && no_color[0]) && term && strcmp(term, "dumb") != 0;
}

static const char *paint_code(enum paint paint)
{
    switch (paint) {
    case PAINT_GOOD:
        return "\033[32m";
    case PAINT_WARN:
        return "\033[33m";
    case PAINT_BAD:
        return "\033[31m";
    case PAINT_FAINT:
        return "\033[2m";
    case PAINT_BOLD:
        return "\033[1m";
    case PAINT_NONE:
        break;
    }
    return "";
}

void paint_text(enum paint paint, const char *text)
{
    bool on = paint != PAINT_NONE && paint_is_on();
    printf("%s%s%s", on ? paint_code(paint) : "", text, on ? "\033[0m" : "");
}

static struct table_cell *cell_at(const struct table *table, unsigned row, unsigned column)
{
    return &table->cells[row * table->columns + column];
}

void table_begin(struct table *table, unsigned indent, const char *const *headers)
{
    *table = (struct table){.indent = indent};
    while (headers[table->columns])
        table->columns++;
    table_row(table);
    for (unsigned i = 0; i < table->columns; i++) {
        bool right = headers[i][0] == '>'; // a column of numbers
        if (right)
            table->right |= 1u << i;
        table_cell(table, i, PAINT_FAINT, "%s", headers[i] + right);
    }
}

void table_row(struct table *table)
{
    if (table->rows == table->rows_max) {
        table->rows_max = table->rows_max ? table->rows_max * 2 : 8;
        table->cells = realloc(table->cells,
                               (size_t)table->rows_max * table->columns * sizeof table->cells[0]);
        if (!table->cells) {
            complain("out of memory");
            exit(CLI_NOT_WELL);
        }
    }
    memset(cell_at(table, table->rows, 0), 0, table->columns * sizeof table->cells[0]);
    table->rows++;
}

void table_cell(struct table *table, unsigned column, enum paint paint, const char *format, ...)
{
    struct table_cell *cell = cell_at(table, table->rows - 1, column);
    char text[2 * TABLE_CELL_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text_clean(text, cell->text, sizeof cell->text);
    cell->paint = paint;
}

// Columns of the terminal; a pipe has no end.
static unsigned terminal_width(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40)
        return 10000;
    return size.ws_col;
}

static void cut_to(char *text, unsigned width)
{
    while (*text && width > 0) {
        text++;
        while (((unsigned char)*text & 0xc0) == 0x80)
            text++;
        width--;
    }
    *text = 0;
}

static void print_row(const struct table *table, unsigned row, const unsigned *widths)
{
    unsigned at = table->indent, limit = terminal_width(), columns = table->columns;
    while (columns > 1 && !cell_at(table, row, columns - 1)->text[0])
        columns--; // no blanks at the end of a line
    printf("%*s", (int)table->indent, "");
    for (unsigned i = 0; i < columns; i++) {
        struct table_cell *cell = cell_at(table, row, i);
        bool last = i + 1 == columns;
        if (at >= limit)
            break;
        if (last)
            cut_to(cell->text, limit - at);
        bool right = (table->right & 1u << i) != 0;
        unsigned pad = widths[i] > text_width(cell->text) ? widths[i] - text_width(cell->text) : 0;
        if (right)
            printf("%*s", (int)pad, "");
        paint_text(cell->paint, cell->text);
        if (!last)
            printf("%*s", (int)(right ? 2 : pad + 2), "");
        at += widths[i] + 2;
    }
    putchar('\n');
}

void table_end(struct table *table)
{
    unsigned widths[TABLE_COLUMNS_MAX] = {0};
    for (unsigned row = 0; row < table->rows; row++) {
        for (unsigned i = 0; i < table->columns; i++) {
            unsigned width = text_width(cell_at(table, row, i)->text);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    for (unsigned row = 0; row < table->rows; row++)
        print_row(table, row, widths);
    free(table->cells);
    table->cells = NULL;
}
