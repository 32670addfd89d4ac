# cmake -DSOURCE=… -DTEMPLATE=… -DOUTPUT=… [-DCOMMIT=…] -P write_commit.cmake: at each build, writes OUTPUT anew if the commit
# is another one. Without COMMIT, git says which it is, if SOURCE is the root of a repository (and not a copy inside of
# another project's).

set(commit "${COMMIT}")
if(NOT commit)
  set(commit unknown)
  find_program(git git)
  if(git)
    execute_process(COMMAND "${git}" -C "${SOURCE}" rev-parse --show-toplevel
                    OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    file(REAL_PATH "${SOURCE}" source)
    if(root STREQUAL source)
      execute_process(COMMAND "${git}" -C "${SOURCE}" describe --always --dirty --abbrev=12 --exclude=*
                      OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(described)
        set(commit "${described}")
      endif()
    endif()
  endif()
endif()
configure_file("${TEMPLATE}" "${OUTPUT}" @ONLY)
