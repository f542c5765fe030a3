// SPDX-License-Identifier: Apache-2.0
//
// Filling a struct carrick_error in a line. For those who return errors: plugins, and the core itself. Nothing here calls
// into anybody: it is compiled into whoever uses it, and may be called on any thread.
#ifndef CARRICK_ERROR_H
#define CARRICK_ERROR_H

#include <carrick/types.h>

#include <stdarg.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

// Fills *error, if it is not NULL, and returns status. sys_errno: of the system call that failed, or 0. pointer: a JSON
// pointer (RFC 6901) into the section that is wrong, or "". The text is what printf(3) makes of the rest: the cause, the
// actual and the wanted value, and what to do; one line without its end. What is too long is cut. All that is filled lies in the
// structure since ABI 1.0, so struct_size is not looked at.
static inline int carrick_error_set_v(struct carrick_error *error, int status, int sys_errno,
                                      const char *pointer, const char *format, va_list arguments)
{
    if (error == NULL)
        return status;
    error->status = status;
    error->sys_errno = sys_errno;
    snprintf(error->pointer, sizeof error->pointer, "%s", pointer);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    return status;
}

__attribute__((format(printf, 5, 6))) static inline int
carrick_error_set(struct carrick_error *error, int status, int sys_errno, const char *pointer,
                  const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    carrick_error_set_v(error, status, sys_errno, pointer, format, arguments);
    va_end(arguments);
    return status;
}

// The same for a section of the configuration that is wrong: returns CARRICK_ERR_CONFIG.
__attribute__((format(printf, 3, 4))) static inline int
carrick_error_config(struct carrick_error *error, const char *pointer, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    carrick_error_set_v(error, CARRICK_ERR_CONFIG, 0, pointer, format, arguments);
    va_end(arguments);
    return CARRICK_ERR_CONFIG;
}

#ifdef __cplusplus
}
#endif

#endif
