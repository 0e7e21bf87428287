/** Registrable names whose sites lead here; a country's site (google.co.uk) counts as its name. */
const SEARCH = new Set(
  'google bing duckduckgo yahoo baidu yandex ecosia qwant startpage brave naver seznam ask sogou kagi mojeek'.split(
    ' ',
  ),
)
const SOCIAL = new Set(
  'facebook instagram twitter x t linkedin lnkd pinterest reddit tiktok youtube youtu snapchat whatsapp telegram vk weibo threads bsky mastodon quora tumblr discord'.split(
    ' ',
  ),
)
const MAIL = /^(mail|outlook|webmail)\./
const CLICK_IDS: Readonly<Record<string, string>> = {
  gclid: 'google',
  msclkid: 'bing',
  fbclid: 'facebook',
  ttclid: 'tiktok',
}
const CAMPAIGN = ['source', 'medium', 'campaign', 'term', 'content'] as const

/**
 * Where a visitor came from, by the referring page and the parameters of the page that was asked for: `referrer.kind` is
 * campaign, search, social, email, internal, site or direct.
 */
export function referrerOf(referrer: string | null, page: string | undefined): Record<string, string> {
  const from = parse(referrer)
  const to = parse(page)
  const found: Record<string, string> = {}
  for (const name of CAMPAIGN) {
    const value = to?.searchParams.get(`utm_${name}`)?.trim().toLowerCase().slice(0, 256)
    if (value) found[`referrer.${name}`] = value
  }
  const click = Object.keys(CLICK_IDS).find(id => to?.searchParams.has(id))
  if (click) {
    found['referrer.source'] ??= CLICK_IDS[click] as string
    found['referrer.medium'] ??= 'cpc'
  }
  if (from) found['referrer.host'] = bare(from.hostname)
  if (Object.keys(found).some(name => name !== 'referrer.host')) return { ...found, 'referrer.kind': 'campaign' }
  if (!from) return referrer?.trim() ? {} : { 'referrer.kind': 'direct' }
  const site = nameOf(from.hostname)
  const query = from.searchParams.get('q') ?? from.searchParams.get('query')
  if (to && bare(to.hostname) === bare(from.hostname)) return { ...found, 'referrer.kind': 'internal' }
  if (MAIL.test(from.hostname)) return { ...found, 'referrer.kind': 'email', 'referrer.source': site }
  if (SEARCH.has(site)) {
    return {
      ...found,
      'referrer.kind': 'search',
      'referrer.source': site,
      ...(query && { 'referrer.term': query.slice(0, 256) }),
    }
  }
  if (SOCIAL.has(site)) return { ...found, 'referrer.kind': 'social', 'referrer.source': site }
  return { ...found, 'referrer.kind': 'site' }
}

function parse(url: string | null | undefined): URL | undefined {
  const parsed = url ? URL.parse(url.trim()) : null
  return parsed && /^https?:$/.test(parsed.protocol) ? parsed : undefined
}

const bare = (host: string): string => host.replace(/^www\./, '')

/** `google` of news.google.co.uk: the label before the suffix, of which the second part may be a country's. */
function nameOf(host: string): string {
  const labels = host.split('.')
  const suffix = labels.length > 2 && /\.(com?|net|org|gov|edu|ac)\.[a-z]{2}$/.test(host) ? 2 : 1
  return labels.at(-1 - suffix) ?? host
}
