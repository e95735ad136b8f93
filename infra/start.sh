#!/bin/sh
# Entry point of the image: looks at the secrets first, makes the checkout where a part needs one, then runs the command.
#   KP_SECRETS      names of the environment variables that must hold real secrets
#   KP_REPOSITORY   git address to clone to KP_CHECKOUT, once
set -eu
umask 027
python /usr/local/bin/check_secrets.py ${KP_SECRETS:-}

if [ -n "${KP_REPOSITORY:-}" ]; then
  checkout="${KP_CHECKOUT:-/srv/kp/checkout}"
  if [ ! -d "$checkout/.git" ]; then
    git clone --quiet "$KP_REPOSITORY" "$checkout"
    git -C "$checkout" config user.name "${KP_GIT_NAME:-kp}"
    git -C "$checkout" config user.email "${KP_GIT_EMAIL:-kp@localhost}"
  fi
  cd "$checkout"
  if [ -n "${KP_DVC_REMOTE:-}" ]; then  # bytes go there; credentials come from the environment, and into no file
    dvc remote add --quiet --local --default --force shared "$KP_DVC_REMOTE"
    if [ -n "${KP_DVC_ENDPOINT:-}" ]; then
      dvc remote modify --quiet --local shared endpointurl "$KP_DVC_ENDPOINT"
    fi
    chmod 0600 .dvc/config.local
  fi
fi
exec "$@"
