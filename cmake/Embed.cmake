# caesarion_embed(target file symbol): the file's bytes in the program, as
# `extern const unsigned char symbol[]; extern const size_t symbol_len;`.
function(caesarion_embed target file symbol)
    if(NOT TARGET ${target})
        return()
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
    file(READ ${CMAKE_SOURCE_DIR}/${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n"
           bytes "${bytes}")
    set(out ${CMAKE_BINARY_DIR}/generated/${file}.c)
    file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
"/* Generated from @file@. */
#include <stddef.h>
extern const unsigned char @symbol@[];
extern const size_t @symbol@_len;
const unsigned char @symbol@[] = {
@bytes@
0};
const size_t @symbol@_len = sizeof(@symbol@) - 1;
")
    target_sources(${target} PRIVATE ${out})
endfunction()
