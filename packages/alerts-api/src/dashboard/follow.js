/**
 * Follows a server-sent event stream for as long as the signal lets it. The browser resumes by itself after a broken
 * connection; where it gives up (any answer but 200), this opens the stream anew from the last id it has seen.
 */
export function follow(url, { signal, on, onState }) {
  let lastId = ''
  let wait = 500
  let source
  let timer

  const open = () => {
    const address = new URL(url, document.baseURI)
    if (lastId) address.searchParams.set('last_event_id', lastId)
    source = new EventSource(address)
    onState('connecting', lastId ? 'Resuming…' : 'Connecting…')
    source.onopen = () => {
      wait = 500
      onState('live', 'Live')
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) again()
      else onState('lost', 'Connection lost, resuming…')
    }
    for (const [name, handle] of Object.entries(on))
      source.addEventListener(name, event => {
        handle(event.data)
        if (event.lastEventId) lastId = event.lastEventId
      })
    source.addEventListener('cursor', event => {
      lastId = event.lastEventId
    })
    source.addEventListener('end', event => {
      const { reason } = JSON.parse(event.data)
      if (reason !== 'token_expired') return
      source.close()
      signal.removeEventListener('abort', stop)
      onState('lost', 'The access token has expired: reload the page')
    })
  }

  const again = () => {
    const seconds = Math.max(1, Math.round(wait / 1000))
    onState('lost', `No answer, trying again in ${seconds} s…`)
    timer = setTimeout(open, wait * (0.5 + Math.random()))
    wait = Math.min(wait * 2, 10_000)
  }

  const stop = () => {
    clearTimeout(timer)
    source?.close()
  }

  signal.addEventListener('abort', stop, { once: true })
  open()
}
