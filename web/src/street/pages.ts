// The maps of the stroll and of the desk: <div data-street-map data-bounds="w,s,e,n">.
export {}
