#!/bin/sh
# Brings a tunnel up in the background and tells why if that does not work.
# Usage: on-connect.sh <server or profile> [options of ikestream connect...]
ikestream connect "$@" --background --non-inter --pid-file "${XDG_RUNTIME_DIR:-/tmp}/ikestream.pid"
status=$?
case $status in
  0) echo 'The tunnel is up.' ;;
  68) echo 'The name of the gateway does not resolve: is this machine online?' ;;
  69) echo 'No transport reaches the gateway from this network.' ;;
  75) echo 'It took too long; trying again may help.' ;;
  77) echo 'The credentials were refused, or this needs more privileges.' ;;
  *) echo "ikestream ended with status $status." ;;
esac
exit $status
